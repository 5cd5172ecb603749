# shellcheck shell=bash
# Sourced by the other scripts. setup_venv makes (or brings up to date) the virtual environment with jaxrec installed
# from this checkout; a call that finds nothing to do takes a fraction of a second.
#
#   PYTHON=...        the Python to use; else the newest working one of 3.13, 3.12, 3.11
#   JAXREC_VENV=...   where the environment goes; else .venv in the checkout

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=${JAXREC_VENV:-$root/.venv}

say() { printf '%s\n' "$*" >&2; }

# Prints the version of the Python at $1 where it works: 3.11 or newer, with all that setting up and running need.
working_version() {
  "$1" -c 'if 1:
    import bz2, ctypes, ensurepip, lzma, ssl, sys, sysconfig, venv, zlib
    assert sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED")
    print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null </dev/null
}

# Prints the path of the newest working Python; with an argument (3.12), of that version only.
find_python() {
  local versions wanted path
  read -r -a versions <<<"${1:-3.13 3.12 3.11 3}"
  for wanted in "${versions[@]}"; do
    while IFS= read -r path; do
      if [[ -x $path && "$(working_version "$path")" == "$wanted".* ]]; then
        printf '%s\n' "$path"
        return 0
      fi
    done < <(
      type -aP "python$wanted" || true
      printf '%s\n' "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$wanted".*/bin/python
      printf '%s\n' "${HOME:-}/.local/share/uv/python/cpython-$wanted".*/bin/python3
      type -aP python3 python || true
    )
  done
  return 1
}

# The Python to make the environment with: PYTHON, or the newest working one. Prints its path, or says what is missing.
choose_python() {
  if [[ -z ${PYTHON:-} ]]; then
    find_python && return 0
    say "No working Python 3.11, 3.12 or 3.13 was found; it needs venv, pip and ssl."
    say "Install one (Debian, Ubuntu: apt install python3 python3-venv), or name one: PYTHON=/path/to/python"
  elif [[ -n $(working_version "$PYTHON") ]]; then
    type -P "$PYTHON"
    return 0
  else
    say "PYTHON=$PYTHON does not work here: it must be Python 3.11 or newer with venv, pip and ssl."
  fi
  return 2
}

# What the installation depends on. It is kept word for word in a stamp file in the environment.
fingerprint() {
  printf '%s\n' "checkout: $root" "also: $*"
  "$venv/bin/python" -c 'import sys; print(sys.version)' 2>/dev/null </dev/null || return 1
  cat -- "$root/pyproject.toml"
}

make_venv() {
  local python
  python=$(choose_python) || return
  if [[ -e $venv && ! -e $venv/pyvenv.cfg && ! -e $venv/setup.log && -n "$(ls -A -- "$venv")" ]]; then
    say "$venv is there and is no virtual environment; move it away, or set JAXREC_VENV to another place."
    return 2
  fi
  say "Making $venv with Python $(working_version "$python") ($python)"
  rm -rf -- "$venv"
  mkdir -p -- "$venv"
  "$python" -m venv "$venv" >"$venv/setup.log" 2>&1 </dev/null || setup_failed $?
}

setup_failed() {
  cat -- "$venv/setup.log" >&2
  say "Setting up failed (exit code $1). The lines above are from $venv/setup.log; the same command tries again."
  return "$1"
}

# setup_venv EXTRAS [REQUIREMENT...]: jaxrec with these extras ("", "test"), and other requirements, are installed.
setup_venv() {
  local extras=$1 stamp version
  shift
  stamp=$venv/setup-${extras:-base}.stamp
  version=$("$venv/bin/python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null </dev/null) || true
  if [[ -z ${PYTHON:-} || -z $version || "$(working_version "$PYTHON")" == "$version" ]]; then
    if [[ -f $stamp && "$(fingerprint "$@")" == "$(cat -- "$stamp")" ]]; then
      return 0
    fi
    # Our log without any stamp: an earlier call was interrupted, and half an installation is worse than none.
    if [[ -z $version || ( -f $venv/setup.log && -z $(compgen -G "$venv/setup-*.stamp") ) ]] ||
      ! "$venv/bin/python" -m pip --version >/dev/null 2>&1 </dev/null || [[ -z $(working_version "$venv/bin/python") ]]; then
      make_venv || return
    fi
  else
    make_venv || return
  fi
  rm -f -- "$venv"/setup-*.stamp
  say "Installing jaxrec${extras:+ with what its ${extras}s need} and its dependencies; a minute or two (log: $venv/setup.log)"
  (cd -- "$root" && exec "$venv/bin/python" -m pip install --disable-pip-version-check --no-input \
    -e ".${extras:+[$extras]}" "$@") >>"$venv/setup.log" 2>&1 </dev/null || { setup_failed $?; return; }
  fingerprint "$@" >"$stamp"
}

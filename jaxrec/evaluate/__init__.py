"""Full-catalog evaluation: metrics, segments, comparison, report."""

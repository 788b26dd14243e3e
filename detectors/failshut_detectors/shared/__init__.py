"""What several methods share: charts, scales, covariance, exact run lengths."""

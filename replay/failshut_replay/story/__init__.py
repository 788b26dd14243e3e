"""What a replay comes to: timelines, differences, scores, pictures, reports."""

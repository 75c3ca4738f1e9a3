"""What a cluster is, held against what it should be: findings by family, and the one answer that they come to."""

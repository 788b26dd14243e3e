"""What carries out the commands of a witness."""

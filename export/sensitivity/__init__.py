"""What each group of modules costs when it alone is quantised."""

"""What scripts of several rooms share."""

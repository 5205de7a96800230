"""What must hold in a data set, what is known of the field's, and what looks wrong."""

"""A feature file, whoever wrote it, to the arrays of the plain layout and to splits."""

"""Splits and a method -> selected parameters: program, loop, state."""

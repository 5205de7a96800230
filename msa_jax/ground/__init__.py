"""What every room stands on: types, errors, signals, files, processes, the compiler."""

"""A data set turned into the files of other programs: what several exporters share. Prints nothing."""

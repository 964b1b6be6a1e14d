"""The files of a trace, whoever makes them: read strictly, sorted in bounded memory, written with their
hashes, and put in place in one step."""

"""A data set as traces of Perfetto: a file a node, one of all requests, the manifest that relates them."""

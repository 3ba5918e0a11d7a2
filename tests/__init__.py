"""The tests of the server, the training tools and the deployment."""

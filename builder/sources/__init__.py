"""Sources of files on the network: URLs and git repositories, fetched while a build is planned."""

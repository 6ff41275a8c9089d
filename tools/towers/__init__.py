"""The towers that come with the package: their recipes, and how they are trained, measured and described."""

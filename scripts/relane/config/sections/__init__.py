"""A module a section of the configuration. What several sections share, or only some of a section's scripts need, is a
class of its own that the section inherits."""

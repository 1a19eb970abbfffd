"""A size chosen by the user: each tensor's type chosen so that the least is lost."""

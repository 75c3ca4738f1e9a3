"""What people and programs meet: a command a module, imported when it is called (`main`), and what several share."""

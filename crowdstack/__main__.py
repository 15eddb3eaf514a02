"""`python -m crowdstack` is the `crowdstack` command."""

from crowdstack.cli.main import main

if __name__ == "__main__":
    main()

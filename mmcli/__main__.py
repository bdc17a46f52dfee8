"""`python -m mmcli`: the same program as the console script."""

from mmcli.cli.main import main

if __name__ == "__main__":
    main()

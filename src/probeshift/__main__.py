from probeshift.cli import main

main()

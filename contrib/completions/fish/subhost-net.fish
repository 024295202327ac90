complete -c subhost-net -s S -l subhosts -d 'Use the subhosts in DIR [default: $SUBHOST, else /opt/subhost; without root ~/.local/share/subhost]' -r -F
complete -c subhost-net -l set -d 'Use VALUE for the setting KEY in this run, and in what this run makes' -r
complete -c subhost-net -l wait -d 'Wait up to SECONDS for another command on the same subhost [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-net -s u -l undo -d 'Remove the network; refused while the subhost runs'
complete -c subhost-net -s n -l dry-run -d 'Print shell commands that do the same, and change nothing'
complete -c subhost-net -s v -l verbose -d 'Print each step to standard error'
complete -c subhost-net -s q -l quiet -d 'Print errors only, no warnings and notices'
complete -c subhost-net -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-net -s V -l version -d 'Print version'

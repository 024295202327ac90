complete -c subhost-net -s S -l subhosts -d 'The directory that holds the subhosts [default: $SUBHOST, else /opt/subhost]' -r -F
complete -c subhost-net -l set -d 'Change a setting for this run only; it is kept with what the run makes' -r
complete -c subhost-net -l wait -d 'Wait at most this long for another command on the same subhost [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-net -s u -l undo -d 'Take it down instead'
complete -c subhost-net -s n -l dry-run -d 'Print the shell commands that would be run, and do nothing'
complete -c subhost-net -s v -l verbose -d 'Say what is done'
complete -c subhost-net -s q -l quiet -d 'Warn of nothing'
complete -c subhost-net -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-net -s V -l version -d 'Print version'

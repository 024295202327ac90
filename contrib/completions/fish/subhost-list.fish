complete -c subhost-list -s o -l output -d 'These columns only, bare, separated by commas' -r
complete -c subhost-list -s S -l subhosts -d 'The directory that holds the subhosts [default: $SUBHOST, else /opt/subhost]' -r -F
complete -c subhost-list -l set -d 'Change a setting for this run only; it is kept with what the run makes' -r
complete -c subhost-list -l wait -d 'Wait at most this long for another command on the same subhost [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-list -l json -d 'As JSON'
complete -c subhost-list -s v -l verbose -d 'Say what is done'
complete -c subhost-list -s q -l quiet -d 'Warn of nothing'
complete -c subhost-list -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-list -s V -l version -d 'Print version'

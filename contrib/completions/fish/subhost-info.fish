complete -c subhost-info -s S -l subhosts -d 'The directory that holds the subhosts [default: $SUBHOST, else /opt/subhost]' -r -F
complete -c subhost-info -l set -d 'Change a setting for this run only; it is kept with what the run makes' -r
complete -c subhost-info -l wait -d 'Wait at most this long for another command on the same subhost [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-info -l json -d 'As JSON'
complete -c subhost-info -s v -l verbose -d 'Say what is done'
complete -c subhost-info -s q -l quiet -d 'Warn of nothing'
complete -c subhost-info -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-info -s V -l version -d 'Print version'

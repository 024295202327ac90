complete -c subhost-check -s S -l subhosts -d 'The directory that holds the subhosts [default: $SUBHOST, else /opt/subhost]' -r -F
complete -c subhost-check -l set -d 'Change a setting for this run only; it is kept with what the run makes' -r
complete -c subhost-check -l wait -d 'Wait at most this long for another command on the same subhost [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-check -l repair -d 'Take away what is left, where that needs no force'
complete -c subhost-check -l json -d 'As JSON: an object with host and left'
complete -c subhost-check -s v -l verbose -d 'Say what is done'
complete -c subhost-check -s q -l quiet -d 'Warn of nothing'
complete -c subhost-check -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-check -s V -l version -d 'Print version'

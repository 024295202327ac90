complete -c subhost-config -s S -l subhosts -d 'The directory that holds the subhosts [default: $SUBHOST, else /opt/subhost]' -r -F
complete -c subhost-config -l set -d 'Change a setting for this run only; it is kept with what the run makes' -r
complete -c subhost-config -l wait -d 'Wait at most this long for another command on the same subhost [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-config -l check -d 'Print nothing but what is wrong, and warnings'
complete -c subhost-config -s v -l verbose -d 'Say what is done'
complete -c subhost-config -s q -l quiet -d 'Warn of nothing'
complete -c subhost-config -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-config -s V -l version -d 'Print version'

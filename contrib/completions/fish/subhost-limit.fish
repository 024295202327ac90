complete -c subhost-limit -s S -l subhosts -d 'The directory that holds the subhosts [default: $SUBHOST, else /opt/subhost]' -r -F
complete -c subhost-limit -l set -d 'Change a setting for this run only; it is kept with what the run makes' -r
complete -c subhost-limit -l wait -d 'Wait at most this long for another command on the same subhost [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-limit -l freeze -d 'Have all processes inside rest'
complete -c subhost-limit -l thaw -d 'Have them go on'
complete -c subhost-limit -l json -d 'As JSON'
complete -c subhost-limit -s v -l verbose -d 'Say what is done'
complete -c subhost-limit -s q -l quiet -d 'Warn of nothing'
complete -c subhost-limit -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-limit -s V -l version -d 'Print version'

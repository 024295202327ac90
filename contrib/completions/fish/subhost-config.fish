complete -c subhost-config -s S -l subhosts -d 'Use the subhosts in DIR [default: $SUBHOST, else /opt/subhost; without root ~/.local/share/subhost]' -r -F
complete -c subhost-config -l set -d 'Use VALUE for the setting KEY in this run, and in what this run makes' -r
complete -c subhost-config -l wait -d 'Wait up to SECONDS for another command on the same subhost [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-config -l check -d 'Print no settings, only errors and warnings'
complete -c subhost-config -s v -l verbose -d 'Print each step to standard error'
complete -c subhost-config -s q -l quiet -d 'Print errors only, no warnings and notices'
complete -c subhost-config -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-config -s V -l version -d 'Print version'

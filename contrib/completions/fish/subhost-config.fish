complete -c subhost-config -s S -l subhosts -d 'Use the subhosts in DIR [default: $SUBHOST, else /opt/subhost; without root ~/.local/share/subhost]' -r -F
complete -c subhost-config -l set -d 'Override KEY for this command and for what it mounts, makes or boots' -r
complete -c subhost-config -l wait -d 'If another command has locked the subhost, wait up to SECONDS for it [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-config -l check -d 'Print no settings, only errors and warnings'
complete -c subhost-config -s v -l verbose -d 'Print each step to standard error'
complete -c subhost-config -s q -l quiet -d 'Print errors only, no warnings and notices'
complete -c subhost-config -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-config -s V -l version -d 'Print version'

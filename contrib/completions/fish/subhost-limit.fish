complete -c subhost-limit -s S -l subhosts -d 'Use the subhosts in DIR [default: $SUBHOST, else /opt/subhost; without root ~/.local/share/subhost]' -r -F
complete -c subhost-limit -l set -d 'Override KEY for this command and for what it mounts, makes or boots' -r
complete -c subhost-limit -l wait -d 'If another command has locked the subhost, wait up to SECONDS for it [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-limit -l freeze -d 'Freeze all processes inside: they stay in memory and do not run'
complete -c subhost-limit -l thaw -d 'Thaw them: they run again'
complete -c subhost-limit -l json -d 'Print JSON'
complete -c subhost-limit -s v -l verbose -d 'Print each step to standard error'
complete -c subhost-limit -s q -l quiet -d 'Print errors only, no warnings and notices'
complete -c subhost-limit -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-limit -s V -l version -d 'Print version'

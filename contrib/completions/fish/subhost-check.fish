complete -c subhost-check -s S -l subhosts -d 'Use the subhosts in DIR [default: $SUBHOST, else /opt/subhost; without root ~/.local/share/subhost]' -r -F
complete -c subhost-check -l set -d 'Override KEY for this command and for what it mounts, makes or boots' -r
complete -c subhost-check -l wait -d 'If another command has locked the subhost, wait up to SECONDS for it [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-check -l repair -d 'Remove leftovers that can be removed without force'
complete -c subhost-check -l json -d 'Print JSON: an object with host and left'
complete -c subhost-check -s v -l verbose -d 'Print each step to standard error'
complete -c subhost-check -s q -l quiet -d 'Print errors only, no warnings and notices'
complete -c subhost-check -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-check -s V -l version -d 'Print version'

complete -c subhost-list -s o -l output -d 'Print these columns only, separated by commas, without a heading' -r
complete -c subhost-list -s S -l subhosts -d 'Use the subhosts in DIR [default: $SUBHOST, else /opt/subhost; without root ~/.local/share/subhost]' -r -F
complete -c subhost-list -l set -d 'Override KEY for this command and for what it mounts, makes or boots' -r
complete -c subhost-list -l wait -d 'If another command has locked the subhost, wait up to SECONDS for it [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-list -l json -d 'Print JSON'
complete -c subhost-list -s v -l verbose -d 'Print each step to standard error'
complete -c subhost-list -s q -l quiet -d 'Print errors only, no warnings and notices'
complete -c subhost-list -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-list -s V -l version -d 'Print version'

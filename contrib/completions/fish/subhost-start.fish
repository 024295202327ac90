complete -c subhost-start -l auto -d 'Start all whose AUTOSTART names SET; without SET, all whose AUTOSTART is not no' -r
complete -c subhost-start -s S -l subhosts -d 'Use the subhosts in DIR [default: $SUBHOST, else /opt/subhost; without root ~/.local/share/subhost]' -r -F
complete -c subhost-start -l set -d 'Override KEY for this command and for what it mounts, makes or boots' -r
complete -c subhost-start -l wait -d 'If another command has locked the subhost, wait up to SECONDS for it [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-start -s f -l foreground -d 'Stay in the foreground until RUN or INIT ends'
complete -c subhost-start -s i -l interactive -d 'Stay in the foreground, with a shell in the place of RUN'
complete -c subhost-start -l all -d 'Start all that have a config'
complete -c subhost-start -s v -l verbose -d 'Print each step to standard error'
complete -c subhost-start -s q -l quiet -d 'Print errors only, no warnings and notices'
complete -c subhost-start -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-start -s V -l version -d 'Print version'

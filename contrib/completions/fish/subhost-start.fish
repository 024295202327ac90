complete -c subhost-start -l auto -d 'All whose AUTOSTART is not no, or names SET' -r
complete -c subhost-start -s S -l subhosts -d 'The directory that holds the subhosts [default: $SUBHOST, else /opt/subhost]' -r -F
complete -c subhost-start -l set -d 'Change a setting for this run only; it is kept with what the run makes' -r
complete -c subhost-start -l wait -d 'Wait at most this long for another command on the same subhost [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-start -s f -l foreground -d 'Stay in the foreground until it ends'
complete -c subhost-start -s i -l interactive -d 'Stay in the foreground with a shell instead of RUN'
complete -c subhost-start -l all -d 'All that have a config'
complete -c subhost-start -s v -l verbose -d 'Say what is done'
complete -c subhost-start -s q -l quiet -d 'Warn of nothing'
complete -c subhost-start -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-start -s V -l version -d 'Print version'

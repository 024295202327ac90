complete -c subhost-enter -s u -l user -d 'User inside: name or number, with :GROUP or without' -r
complete -c subhost-enter -s w -l workdir -d 'Working directory inside [default: the user\'s home]' -r
complete -c subhost-enter -s e -l env -d 'Set a variable in the command\'s environment' -r
complete -c subhost-enter -s S -l subhosts -d 'The directory that holds the subhosts [default: $SUBHOST, else /opt/subhost]' -r -F
complete -c subhost-enter -l set -d 'Change a setting for this run only; it is kept with what the run makes' -r
complete -c subhost-enter -l wait -d 'Wait at most this long for another command on the same subhost [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-enter -s j -l join -d 'Only if it is running (status 3 else)'
complete -c subhost-enter -s t -l tty -d 'Give it a terminal in any case'
complete -c subhost-enter -s T -l no-tty -d 'Give it no terminal of its own'
complete -c subhost-enter -s v -l verbose -d 'Say what is done'
complete -c subhost-enter -s q -l quiet -d 'Warn of nothing'
complete -c subhost-enter -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-enter -s V -l version -d 'Print version'

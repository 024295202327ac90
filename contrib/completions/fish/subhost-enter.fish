complete -c subhost-enter -s u -l user -d 'Run COMMAND as this user inside, a name or a number; USER:GROUP sets the group as well' -r
complete -c subhost-enter -s w -l workdir -d 'Run COMMAND in this directory inside [default: the user\'s home]' -r
complete -c subhost-enter -s e -l env -d 'Set a variable in the environment of COMMAND' -r
complete -c subhost-enter -s S -l subhosts -d 'Use the subhosts in DIR [default: $SUBHOST, else /opt/subhost; without root ~/.local/share/subhost]' -r -F
complete -c subhost-enter -l set -d 'Use VALUE for the setting KEY in this run, and in what this run makes' -r
complete -c subhost-enter -l wait -d 'Wait up to SECONDS for another command on the same subhost [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-enter -s j -l join -d 'Only join: if the subhost does not run, end with status 3'
complete -c subhost-enter -s t -l tty -d 'Give COMMAND a terminal, also where none of the three is one'
complete -c subhost-enter -s T -l no-tty -d 'Give COMMAND no terminal of the subhost: pass on the caller\'s'
complete -c subhost-enter -s v -l verbose -d 'Print each step to standard error'
complete -c subhost-enter -s q -l quiet -d 'Print errors only, no warnings and notices'
complete -c subhost-enter -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-enter -s V -l version -d 'Print version'

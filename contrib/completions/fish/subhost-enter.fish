complete -c subhost-enter -s u -l user -d 'Run COMMAND as this user inside, a name or a number; USER:GROUP also sets the group' -r
complete -c subhost-enter -s w -l workdir -d 'Run COMMAND in this directory inside [default: the user\'s home]' -r
complete -c subhost-enter -s e -l env -d 'Set a variable in the environment of COMMAND' -r
complete -c subhost-enter -s S -l subhosts -d 'Use the subhosts in DIR [default: $SUBHOST, else /opt/subhost; without root ~/.local/share/subhost]' -r -F
complete -c subhost-enter -l set -d 'Override KEY for this command and for what it mounts, makes or boots' -r
complete -c subhost-enter -l wait -d 'If another command has locked the subhost, wait up to SECONDS for it [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-enter -s j -l join -d 'Join a running subhost only; if it does not run, exit with status 3'
complete -c subhost-enter -s t -l tty -d 'Give COMMAND a terminal even if standard input, output and error are not terminals'
complete -c subhost-enter -s T -l no-tty -d 'Pass on terminals of the caller as they are, and give COMMAND no terminal of the subhost'
complete -c subhost-enter -s v -l verbose -d 'Print each step to standard error'
complete -c subhost-enter -s q -l quiet -d 'Print errors only, no warnings and notices'
complete -c subhost-enter -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-enter -s V -l version -d 'Print version'

complete -c subhost-stop -s S -l subhosts -d 'Use the subhosts in DIR [default: $SUBHOST, else /opt/subhost; without root ~/.local/share/subhost]' -r -F
complete -c subhost-stop -l set -d 'Override KEY for this command and for what it mounts, makes or boots' -r
complete -c subhost-stop -l wait -d 'If another command has locked the subhost, wait up to SECONDS for it [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-stop -s K -l keep -d 'End the processes only: the subhost hibernates'
complete -c subhost-stop -s k -l kill -d 'Send KILL at once'
complete -c subhost-stop -l kill-holders -d 'Also kill processes of the host that use its root, in any mount namespace, or its network'
complete -c subhost-stop -s l -l lazy -d 'Detach mounts that stay busy, and name the processes that use them'
complete -c subhost-stop -l sync -d 'Wait until the kernel has released everything, and name the processes that prevent it'
complete -c subhost-stop -l all -d 'Stop all that are up'
complete -c subhost-stop -s n -l dry-run -d 'Print shell commands that do the same, and change nothing'
complete -c subhost-stop -s v -l verbose -d 'Print each step to standard error'
complete -c subhost-stop -s q -l quiet -d 'Print errors only, no warnings and notices'
complete -c subhost-stop -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-stop -s V -l version -d 'Print version'

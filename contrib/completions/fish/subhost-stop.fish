complete -c subhost-stop -s S -l subhosts -d 'The directory that holds the subhosts [default: $SUBHOST, else /opt/subhost]' -r -F
complete -c subhost-stop -l set -d 'Change a setting for this run only; it is kept with what the run makes' -r
complete -c subhost-stop -l wait -d 'Wait at most this long for another command on the same subhost [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-stop -s K -l keep -d 'End processes only; root and network stay up'
complete -c subhost-stop -s k -l kill -d 'KILL at once'
complete -c subhost-stop -l kill-holders -d 'Also end processes of the host that hold its tree, in whatever mount namespace, or its network'
complete -c subhost-stop -s l -l lazy -d 'Detach mounts that stay busy, and say who holds them'
complete -c subhost-stop -l sync -d 'Wait until the kernel has done with everything, and say who keeps it from that'
complete -c subhost-stop -l all -d 'All that are up'
complete -c subhost-stop -s n -l dry-run -d 'Print the shell commands that would be run, and do nothing'
complete -c subhost-stop -s v -l verbose -d 'Say what is done'
complete -c subhost-stop -s q -l quiet -d 'Warn of nothing'
complete -c subhost-stop -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-stop -s V -l version -d 'Print version'

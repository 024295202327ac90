complete -c subhost-mount -s S -l subhosts -d 'Use the subhosts in DIR [default: $SUBHOST, else /opt/subhost; without root ~/.local/share/subhost]' -r -F
complete -c subhost-mount -l set -d 'Override KEY for this command and for what it mounts, makes or boots' -r
complete -c subhost-mount -l wait -d 'If another command has locked the subhost, wait up to SECONDS for it [default: STOP_TIMEOUT + 5]' -r
complete -c subhost-mount -s u -l unmount -d 'Unmount the root; refused while the subhost runs'
complete -c subhost-mount -s n -l dry-run -d 'Print shell commands that do the same, and change nothing'
complete -c subhost-mount -s v -l verbose -d 'Print each step to standard error'
complete -c subhost-mount -s q -l quiet -d 'Print errors only, no warnings and notices'
complete -c subhost-mount -s h -l help -d 'Print help (see more with \'--help\')'
complete -c subhost-mount -s V -l version -d 'Print version'

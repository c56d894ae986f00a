# Completes meterd's commands, flags and files.
set -g _meterd_words '@WORDS@'

function _meterd
    set -l path ''
    set -l lines (string split \n -- $_meterd_words)
    for word in (commandline -opc)[2..-1]
        string match -q -- '-*' $word; and continue
        set -l longer (string trim -- "$path $word")
        string match -q -- "$longer:*" $lines; and set path $longer
    end
    for line in $lines
        set -l parts (string split -m 1 : -- $line)
        test "$parts[1]" = "$path"; and string split ' ' -- $parts[2]
    end
end

complete -c meterd -a '(_meterd)'

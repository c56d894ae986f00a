# Completes meterd's commands, flags and files.
_meterd_words='@WORDS@'

_meterd() {
    local current=${COMP_WORDS[COMP_CWORD]} path='' word i line words=''
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        [[ $word == -* ]] && continue
        case $'\n'$_meterd_words in
            *$'\n'"${path:+$path }$word:"*) path="${path:+$path }$word" ;;
        esac
    done
    while IFS= read -r line; do
        [[ ${line%%:*} == "$path" ]] && words=${line#*:}
    done <<<"$_meterd_words"
    COMPREPLY=()
    while IFS= read -r line; do
        [[ -n $line ]] && COMPREPLY+=("$line")
    done < <(compgen -W "$words" -- "$current"; [[ $current != -* ]] && compgen -f -- "$current")
}

complete -F _meterd meterd

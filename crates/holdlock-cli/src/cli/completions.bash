
# The names of the locks in the lock directory; where there are none, files are offered.
_holdlock_names() {
    local directory file
    COMPREPLY=()
    directory=$("$1" path x 2>/dev/null) || return
    for file in "${directory%/*}/$2"*.lock; do
        [[ -e $file ]] || continue
        file=${file##*/}
        COMPREPLY+=("$(printf %q "${file%.lock}")")
    done
}

# `holdlock run [OPTION]... LOCK [--] COMMAND`: COMMAND begins a command line with
# completions of its own. With --lock there is no LOCK before it. All words of `who` and
# `graph` are locks.
_holdlock_words() {
    local index=2 named=
    if ((COMP_CWORD >= 2)) && [[ ${COMP_WORDS[1]} == @(who|graph) && $2 != -* && $3 != --signal ]]; then
        _holdlock_names "$@"
        return
    fi
    if [[ ${COMP_WORDS[1]} != run ]] || ((COMP_CWORD < 2)); then
        _holdlock "$@"
        return
    fi
    while ((index < COMP_CWORD)); do
        case ${COMP_WORDS[index]} in
            --) ((index += 1)); break ;;
            VALUED)
                [[ ${COMP_WORDS[index]} == --lock ]] && named=1
                [[ ${COMP_WORDS[index + 1]} == "=" ]] && ((index += 1))
                ((index += 2)) ;;
            -*) ((index += 1)) ;;
            *) break ;;
        esac
    done
    if [[ $3 == --lock ]] && ((index > COMP_CWORD)); then
        _holdlock_names "$@"
    elif ((index > COMP_CWORD)) ||
        [[ ${COMP_WORDS[index]} == -* && ${COMP_WORDS[index - 1]} != -- ]]; then
        _holdlock "$@"
    elif ((index == COMP_CWORD)) && [[ -z $named ]]; then
        _holdlock_names "$@"
    else
        [[ -z $named ]] && ((index += 1))
        [[ ${COMP_WORDS[index]} == -- ]] && ((index < COMP_CWORD)) && ((index += 1))
        if declare -F _command_offset >/dev/null; then
            _command_offset "$index"
        elif ((index == COMP_CWORD)); then
            COMPREPLY=($(compgen -c -- "$2"))
        else
            COMPREPLY=()
        fi
    fi
}
complete -F _holdlock_words -o bashdefault -o default holdlock

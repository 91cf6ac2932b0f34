
# Offers these words, as far as they begin with what is typed.
_holdlock_offer() {
    local typed=$1 word
    shift
    COMPREPLY=()
    for word; do
        [[ $word == "$typed"* ]] && COMPREPLY+=("$word")
    done
}

# Offers the names in the lock directory, and directories; after a slash, files as elsewhere.
_holdlock_locks() {
    local directory file
    COMPREPLY=()
    [[ $2 == */* ]] && return
    directory=$("$1" path x 2>/dev/null) || return
    for file in "${directory%/*}/$2"*.lock; do
        [[ -e $file ]] || continue
        file=${file##*/}
        COMPREPLY+=("$(printf '%q ' "${file%.lock}")")
    done
    while read -r file; do
        COMPREPLY+=("$(printf %q "$file")/")
    done < <(compgen -d -- "$2")
    compopt -o nospace 2>/dev/null
}

# `holdlock run [OPTION]... LOCK [--] COMMAND`: COMMAND begins a command line with completions of
# its own. With --lock there is no LOCK before it.
_holdlock_run() {
    local index=2 named=
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
        _holdlock_locks "$@"
    elif ((index > COMP_CWORD)) ||
        [[ ${COMP_WORDS[index]} == -* && ${COMP_WORDS[index - 1]} != -- ]]; then
        _holdlock "$@"
    elif ((index == COMP_CWORD)) && [[ -z $named ]]; then
        _holdlock_locks "$@"
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

_holdlock_words() {
    local option=$3
    # Readline takes `--signal=T` for three words.
    [[ $option == "=" ]] && option=${COMP_WORDS[COMP_CWORD - 2]}
    if ((COMP_CWORD < 2)); then
        _holdlock "$@"
    elif [[ $option == --signal ]]; then
        _holdlock_offer "${2#=}" SIGNALS
    elif [[ ${COMP_WORDS[1]} == run ]]; then
        _holdlock_run "$@"
    elif [[ ${COMP_WORDS[1]} == @(LOCKS) && $2 != -* && " OPTIONS " != *" $option "* ]]; then
        _holdlock_locks "$@"
    else
        _holdlock "$@"
    fi
}
complete -F _holdlock_words -o bashdefault -o default holdlock


# The names in the lock directory, and files.
_holdlock_locks() {
    local directory
    local -a names
    if [[ $PREFIX != */* ]]; then
        directory=$(_call_program names $service path x 2>/dev/null)
        names=(${directory:h}/*.lock(N:t:r))
        _describe -t names lock names
    fi
    _files
}

# All words of `holdlock run` that are not options: LOCK, unless --lock names it, and COMMAND.
_holdlock_run() {
    if [[ -z ${opt_args[(i)--lock]} ]]; then
        if ((CURRENT == 1)); then
            _holdlock_locks
            return
        fi
        shift words
        ((CURRENT -= 1))
    fi
    if [[ $words[1] == -- ]] && ((CURRENT > 1)); then
        shift words
        ((CURRENT -= 1))
    fi
    _normal
}


# The names in the lock directory.
function __fish_holdlock_names
    set -l sample (holdlock path x 2>/dev/null); or return
    set -l directory (string replace -r '/[^/]*$' '' -- $sample)
    for file in $directory/*.lock
        string replace -r '^.*/(.*)\.lock$' '$1' -- $file
    end
end

# The words of COMMAND before the cursor, of `holdlock run [OPTION]... LOCK [--] COMMAND`. Fails
# before COMMAND. With --lock there is no LOCK.
function __fish_holdlock_command
    set -l words (commandline -opc)
    set -e words[1..2]
    set -l named no
    while set -q words[1]; and string match -q -- '-*' $words[1]
        set -l option $words[1]
        set -e words[1]
        string match -q -- '--lock*' $option; and set named yes
        switch $option
            case --
                break
            case VALUED
                # The cursor may be at the value.
                set -q words[1]; or return 1
                set -e words[1]
        end
    end
    if test $named = no
        set -q words[1]; or return 1
        set -e words[1]
    end
    set -q words[1]; and test $words[1] = --; and set -e words[1]
    string escape -- $words
    return 0
end

function __fish_holdlock_in_command
    __fish_holdlock_command >/dev/null
end

# What COMMAND's own completions offer.
function __fish_holdlock_complete_command
    complete -C (string join ' ' -- (__fish_holdlock_command) (commandline -ct))
end

complete -c holdlock -n "__fish_holdlock_using_subcommand LOCKS" -a "(__fish_holdlock_names)" -d lock
complete -c holdlock -n "__fish_holdlock_using_subcommand who" -l signal -x -a "SIGNALS"
complete -c holdlock -n "__fish_holdlock_using_subcommand run; and not __fish_holdlock_in_command" -a "(__fish_holdlock_names)" -d lock
complete -c holdlock -n "__fish_holdlock_using_subcommand run; and not __fish_holdlock_in_command" -l lock -x -a "(__fish_holdlock_names)"
complete -c holdlock -n "__fish_holdlock_using_subcommand run; and __fish_holdlock_in_command" -x -a "(__fish_holdlock_complete_command)"

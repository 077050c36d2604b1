-- The words of a job's arguments, by which the search finds it, and those of a search.
--
-- library

local MAX_WORDS = 64 -- of a job: each is a set in Redis

-- Add the words of a text to `words`, a list with a set beside it. Bytes above 127 are letters of other alphabets.
local function add_words(text, words)
    for word in text:lower():gmatch('[%w_\128-\255]+') do
        if not words[word] and #words < MAX_WORDS then
            table.insert(words, word)
            words[word] = true
        end
    end
end

-- Add the words of a JSON value, and of all values in it; names of fields are none.
local function add_words_of_value(value, words)
    if type(value) == 'table' then
        for _, item in pairs(value) do add_words_of_value(item, words) end
    elseif value ~= cjson.null then
        add_words(tostring(value), words)
    end
end

local function words_of_text(text)
    local words = {}
    add_words(text, words)
    return words
end

-- Return the words of the arguments in a description like 'wait {"seconds": 3}', and of one that is no JSON, all of it.
local function words_of_arguments(text)
    local words = {}
    local ok, values = pcall(cjson.decode, text)
    add_words_of_value(ok and values or text, words)
    return words
end
